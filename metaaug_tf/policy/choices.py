"""x"""

HEADS = ("contrast", "additive")
