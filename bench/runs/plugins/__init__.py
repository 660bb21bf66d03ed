"""Plug-ins: the kinds of things that they register, their files, and the checks of both."""
