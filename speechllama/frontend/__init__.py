"""Front ends: from recordings to features; what a front end writes is recorded next to its features."""
