"""The output layer's two operations made fast: one file a technique."""
