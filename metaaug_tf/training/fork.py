"""Going on from a run's newest checkpoint in another folder, with other settings."""

from metaaug_tf.errors import UserError
from metaaug_tf.meta.model import MetaAugment
from metaaug_tf.training.checkpoint_folder import CheckpointFolder, Position, Saved
from metaaug_tf.training.model_state import check_state
from metaaug_tf.training.run_folder import RunFolder


def read_fork(model: MetaAugment, source: RunFolder, digest: str) -> Saved:
    """The newest whole checkpoint of `source` as the first one of a run with other settings.

    What was under way in an epoch may mean nothing with other settings, so the epoch starts anew, with the weights
    as they are.

    Args:
        model: compiled, of the new run.
        source: the run to go on from.
        digest: of the new run's settings.

    Raises:
        UserError: there is no checkpoint, none is whole, or the model differs.
    """
    source.read_config()
    saved = CheckpointFolder(source.checkpoints).newest_whole()
    if saved is None:
        raise UserError(f"{source.path} has no checkpoint to go on from yet; leave --fork out")
    check_state(model, saved.tensors)
    facts = {**saved.facts, "digest": digest, "stopped_early": False}
    return Saved(Position(saved.position.epoch), saved.tensors, facts)
