//! `kubectl tidegate`: what a person sees and commands.
