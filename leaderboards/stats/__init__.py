"""Statistics of tables: intervals over seeds and questions, paired differences, groups of ties, power, coverage."""
