"""What the policy's settings may be; free of TensorFlow, so that the command line checks them without loading it."""

# The heads of policy.network.PolicyNetwork, the default first.
HEADS = ("contrast", "additive")
# The least and the largest identity_odds of policy.sampler.initial_probabilities.
IDENTITY_ODDS = (0.01, 100)
