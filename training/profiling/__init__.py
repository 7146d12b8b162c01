"""What each stage of loading costs, alone and together."""
