package standin

import (
	"fmt"
	"net/http"
)

// problem is an error in one of WorkOS's shapes: {message}, {message, code},
// {message, code, errors} for a 422, or OAuth's {error, error_description}.
type problem struct {
	status      int
	Message     string       `json:"message,omitempty"`
	Code        string       `json:"code,omitempty"`
	Errors      []fieldError `json:"errors,omitempty"`
	EntityID    string       `json:"entity_id,omitempty"`
	OAuth       string       `json:"error,omitempty"`
	Description string       `json:"error_description,omitempty"`
}

// fieldError says what is wrong with one field of a body or query.
type fieldError struct {
	Code  string `json:"code"`
	Field string `json:"field"`
}

func (p *problem) Error() string {
	if p.OAuth != "" {
		return p.OAuth + ": " + p.Description
	}
	return p.Message
}

// invalid is WorkOS's 422 for named fields.
func invalid(errors ...fieldError) *problem {
	return &problem{
		status: http.StatusUnprocessableEntity, Message: "Validation failed.", Code: "invalid_request_parameters", Errors: errors,
	}
}

// unprocessable is a 422 that says in words what is wrong.
func unprocessable(format string, args ...any) *problem {
	return &problem{status: http.StatusUnprocessableEntity, Message: fmt.Sprintf(format, args...), Code: "invalid_request_parameters"}
}

func notFound(kind, id string) *problem {
	return &problem{
		status: http.StatusNotFound, Message: fmt.Sprintf("%s not found: '%s'.", kind, id), Code: "entity_not_found", EntityID: id,
	}
}

func oauthError(code, description string) *problem {
	return &problem{status: http.StatusBadRequest, OAuth: code, Description: description}
}
