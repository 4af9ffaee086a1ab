module battery.app/gate/deploy/e2e/harness

go 1.27.3
