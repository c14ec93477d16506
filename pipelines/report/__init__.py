"""The report page: one HTML file with the numbers, the films and the configuration inside."""
