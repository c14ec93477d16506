"""What a person should look at in a labelled archive, and the frames to correct by hand."""
