"""From text files to a trained bundle."""
