//! The tokio shell: performs the pair's actions, CPU pool, budget, watchdog.
