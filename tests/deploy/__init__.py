"""What ships the server: image, compose file, manifests, rules and dashboard, checked by their own tools."""
