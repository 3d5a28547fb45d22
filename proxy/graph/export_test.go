package graph

// The tests in package graph_test use these unexported names.
var (
	ErrNotJSON     = errNotJSON
	ErrDuplicate   = errDuplicate
	ErrTooMany     = errTooMany
	ErrNoTokenIn   = errNoTokenIn
	ErrBadExpires  = errBadExpires
	ErrBadType     = errBadType
	ErrErrorMember = errErrorMember
	Classify       = classify
	Unreadable     = unreadable
)

const (
	MaxMembers = maxMembers
	MaxText    = maxText
)

func (e *Error) MetaCode() int { return e.metaCode() }
