"""Families of networks, one file each; nothing outside of this folder knows how one is built or called."""
