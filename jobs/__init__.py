"""One thin module per command of `huetrack`."""
