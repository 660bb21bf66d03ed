"""The formats of `bench report`, one file each. A module here imports no pandas, so that they are listed quickly."""
