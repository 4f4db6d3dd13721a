"""x"""

METHODS = {"exact": "", "finite_difference": "", "last_block": ""}
WEIGHTINGS = {"learned": "", "equal": "", "shuffled": ""}
