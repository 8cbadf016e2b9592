"""What a language model is: vocabulary, body, adaptive softmax, training. Imports torch, never `service`."""
