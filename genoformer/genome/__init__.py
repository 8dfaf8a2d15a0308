"""Plain values of genomics: letters, qualities, intervals; numpy only."""
