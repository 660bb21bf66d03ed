"""Images that a user gives to be evaluated: which files there are, what each is of, and their pixels.

`files` lists what is at a path, `rows` reads what a manifest or a text beside an image says, `placing` finds the
protocol's sample of each file, and `pixels` decodes strictly. Nothing is left out, resized or converted.
"""
