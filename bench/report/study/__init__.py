"""The paper's user study: a page of image pairs for raters, and the preference that their answers give."""
