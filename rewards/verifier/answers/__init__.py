"""Reading and comparing answers, a stage per file, each pure, linear in its input and capped.

response -> marks with places (`thinking`, `statements`, `marks`) -> unwrapped text (`unwrap`) -> tokens (`spelling`,
`tokens`) -> typed tree (`reader`, `formula`) -> canonical form and comparison by type. docs/verifier.md lists what each
stage decides.
"""
