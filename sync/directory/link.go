package directory

import (
	"context"
	"fmt"

	"battery.app/gate/store"
)

// PinLink links an SSO profile to a directory user of the same organization,
// until that user is deleted. A login pins what ResolveLink found, so that a
// changed or reassigned e-mail cannot move a person later. Errors: ErrInvalid,
// ErrNotFound if organization or user is not alive, ErrPinned if the profile is
// pinned to another user that is not deleted, or the store's.
func (d *Directory) PinLink(ctx context.Context, org, profileID, userID string) (uint64, error) {
	return d.pin(ctx, org, profileID, userID, false)
}

// Relink is PinLink for an operator: it also replaces a link that holds.
func (d *Directory) Relink(ctx context.Context, org, profileID, userID string) (uint64, error) {
	return d.pin(ctx, org, profileID, userID, true)
}

func (d *Directory) pin(ctx context.Context, org, profileID, userID string, replace bool) (uint64, error) {
	if !validID(org) || !validID(profileID) || !validID(userID) {
		return 0, fmt.Errorf("%w: link", ErrInvalid)
	}
	now := d.now().UnixMilli()
	rev, err := d.store.Update(ctx, func(tx store.Tx) error {
		if o, err := get[organizationRecord](tx, organizationKey(org)); err != nil {
			return err
		} else if !o.alive() {
			return fmt.Errorf("%w: organization", ErrNotFound)
		}
		if ok, err := linkable(tx, org, userID); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("%w: directory user", ErrNotFound)
		}
		held, err := get[linkRecord](tx, linkKey(org, profileID))
		if err != nil {
			return err
		}
		if held.known() && held.UserID == userID {
			return nil
		}
		if held.known() && !replace {
			if ok, err := linkable(tx, org, held.UserID); err != nil {
				return err
			} else if ok {
				return ErrPinned
			}
		}
		return put(tx, linkKey(org, profileID), linkRecord{V: version, UserID: userID, At: now})
	})
	if err != nil {
		return 0, fmt.Errorf("pin link: %w", err)
	}
	return rev, nil
}

// linkable: the user is alive in the organization, and so is its directory.
func linkable(g getter, org, userID string) (bool, error) {
	u, err := get[userRecord](g, userKey(userID))
	if err != nil || !u.alive() || u.OrganizationID != org {
		return false, err
	}
	dir, err := get[linkedRecord](g, directoryKey(u.DirectoryID))
	_, gone := dir.gone()
	return !gone, err
}
