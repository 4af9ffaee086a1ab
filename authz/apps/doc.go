// Package apps is the registry of what stands behind the gateway: each app's
// owner, hosts and allowed roles, and the one question that every request
// begins with: which app is at this host?
//
// Apps come from two places. Those of the config file are read-only and win;
// the others are made through the API and live in the store, where a host is
// claimed in the same transaction that writes its app:
//
//	apps/app/<id>     {"v":1, …authz.App}
//	apps/host/<name>  {"v":1, "app_id": …}
//
// What requests see is a View, immutable, made from the store's entries (Load)
// and its changes (Apply), one after the other. Whatever is not clear is left
// out of it, so that its host is unknown and requests to it are denied: an app
// that cannot be read, one whose host another app has, one whose host lies
// under the slug of another organization.
//
// A host belongs to one app alone, whatever the port, because cookies do not
// know ports (RFC 6265 §8.5): two apps at two ports of one name would see each
// other's sessions. Names are exact: no wildcards, no Unicode, nothing that two
// parsers could read in two ways.
package apps
