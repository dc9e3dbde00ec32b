//! Faults at named points and in storms; `LONGSHORE_FAULTS=full` runs the long form.

