"""What turns rollouts into a learning signal: verifier, methods, flow."""
