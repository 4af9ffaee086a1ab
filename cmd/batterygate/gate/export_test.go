package gate

// What the tests look at from outside.
var (
	ClientIP = clientIP
	Joined   = joined
)
