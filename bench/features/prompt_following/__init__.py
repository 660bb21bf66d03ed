"""What an image shows of its prompt: GenEval, DPG-Bench, read text and VQAScore, with their networks and rules."""
