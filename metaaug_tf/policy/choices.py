"""What the policy's settings may be; free of TensorFlow, so that the command line checks them without loading it."""

# The heads of policy.network.PolicyNetwork, the default first.
HEADS = ("contrast", "additive")
# Name -> "module:function". What a policy network may see of a sample besides features and transformation.
EVIDENCE = {
    "doubt": "metaaug_tf.meta.evidence:doubt",
    "doubt_now": "metaaug_tf.meta.evidence:doubt_now",
    "frequency": "metaaug_tf.meta.evidence:frequency",
}
DEFAULT_EVIDENCE = ("doubt", "frequency")
# The least and the largest identity_odds of policy.sampler.initial_probabilities.
IDENTITY_ODDS = (0.01, 100)
