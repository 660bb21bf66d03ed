"use strict";
// Everything works without this script; it adds sorting, filtering and the choice of runs to compare.
