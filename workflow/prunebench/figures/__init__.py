"""The figures of a study: each has a module that makes a Chart, which `draw` prints and the report shows on screen."""
