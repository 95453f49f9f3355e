"""From the flags of a run to its folders: options, plan, start policy, jobs."""
