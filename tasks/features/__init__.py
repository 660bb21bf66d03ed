"""Published feature networks: uint8 images in, features with a name and a weights' hash out."""
