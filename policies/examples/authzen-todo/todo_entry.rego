# The entry point, data.battery.authzen.decision, about todos. Several files may
# each define it, as long as at most one of them has an answer: what the others
# are not about must be undefined there.
package battery.authzen

decision := data.battery.authzen.todo.decision
