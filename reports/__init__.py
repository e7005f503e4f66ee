"""Reports: rules of compliance as data and pure functions, and what is made of them: PDF and CSV."""
