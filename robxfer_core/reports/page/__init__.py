"""report.html: blocks, and the page that they make."""
