"""Many systems in one table: what each wrote -> scores with significance, the paper's claims, a figure."""
