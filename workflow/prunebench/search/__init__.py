"""Searching for an allocation: the candidates (`spaces`), how they are proposed (`strategies`), how they are judged."""
