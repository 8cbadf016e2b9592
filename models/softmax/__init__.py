"""The adaptive softmax in plain torch, the reference of every kernel; its exact top-k and sampling."""
