"""What the figures in README and docs come from: each module prints a table and writes JSON."""
