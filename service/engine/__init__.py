"""Messages in, futures out: queues, batches, states, the model. Owns the device."""
