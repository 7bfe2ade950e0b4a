"""The paper's exhibits: what was published, what comes out here, and a verdict on each."""
