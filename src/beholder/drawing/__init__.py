"""Charts and pages of reports, for every room that writes a report."""
