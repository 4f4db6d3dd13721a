"""The augmentation policies, a row each; free of TensorFlow, so that the command line can name them.

To add a policy, add a row; `transform.py` draws by it, and everything else asks the row.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """How a pair of operations and its magnitudes are drawn.

    Attributes:
        learns: pairs are drawn from the sampler's table, which the policy network shapes; else evenly.
        operations: number of operations drawn, 0 to 2; Identity stands for the others.
        fixed_magnitude: magnitudes are all `randaugment_magnitude`; else uniform in [0, 10).
    """

    learns: bool = False
    operations: int = 2
    fixed_magnitude: bool = False


POLICIES: dict[str, Policy] = {
    "metaaugment": Policy(learns=True),  # Zhou et al., arXiv 2012.12076
    "reweight": Policy(learns=True, operations=0),  # Shu et al., NeurIPS 2019: weights alone, on plain images
    "uniform": Policy(),
    "randaugment": Policy(fixed_magnitude=True),  # Cubuk et al., arXiv 1909.13719, N = 2
    "trivialaugment": Policy(operations=1),  # Mueller and Hutter, arXiv 2103.10158
    "none": Policy(operations=0),
}
