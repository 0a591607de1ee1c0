"""A demo desk: reference data, clients and loans made through the platform's own verbs, and scripted borrowers."""
