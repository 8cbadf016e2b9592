"""The networks between the embedding and the adaptive softmax."""
