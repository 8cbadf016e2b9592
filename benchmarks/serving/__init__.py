"""Our server beside others, in one run: the same model and the same `topk` behind each of them."""
