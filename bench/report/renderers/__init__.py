"""The formats of `bench report`, one file each. Listing them imports no pandas."""
