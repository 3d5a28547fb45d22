package graph

// What the tests of the package need besides its exported names.
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
