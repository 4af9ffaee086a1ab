package api

import _ "embed" // the description is a file, so that tools can read it too

//go:embed openapi.json
var openapi []byte
